-- name: create
-- A new event; its number is the database's.
INSERT INTO legacy_events (event_uuid, name, location, event_date)
VALUES (%(uuid)s, %(name)s, %(location)s, %(date)s)
RETURNING event_number AS number, event_uuid AS uuid, name, location, event_date AS date, created_at

-- name: list
-- Events in the order in which they were created.
SELECT event_number AS number, event_uuid AS uuid, name, location, event_date AS date, created_at
FROM legacy_events
ORDER BY event_number OFFSET %(skip)s LIMIT %(limit)s

-- name: by_uuid
-- One event by the id of its session.
SELECT event_number AS number, event_uuid AS uuid, name, location, event_date AS date, created_at
FROM legacy_events
WHERE event_uuid = %(uuid)s

-- name: by_number
-- One event by its number.
SELECT event_number AS number, event_uuid AS uuid, name, location, event_date AS date, created_at
FROM legacy_events
WHERE event_number = %(number)s
