"""`facepass demo`: the main job from photo event to matches, on sample photos or the user's own."""
