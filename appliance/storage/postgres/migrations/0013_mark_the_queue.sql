-- Why: when this database is put back to an earlier moment, calls that name persons and were handled
-- since are on the queue still; the mark says from where on to handle them again [profiles 2.4].
-- Locks: creates only. Size: one row.

CREATE TABLE queue_marks (
    name varchar(64) PRIMARY KEY,
    life text NOT NULL,
    sequence bigint NOT NULL,
    update_time timestamptz NOT NULL DEFAULT now()
);
