-- The extension stays: other tables of the database may use it.
DROP TABLE replicas, face_embeddings, photo_results, session_generations, generations, photos, sessions;
