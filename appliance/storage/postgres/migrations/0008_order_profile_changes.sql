-- Why: the read side of profiles learns of changes through a queue that does not keep their order;
-- a number from one sequence, taken under the row's lock, says which is the later one [profiles 2.4].
-- Locks: a short one while the column is added; no row is rewritten. Size: eight bytes a profile.

CREATE SEQUENCE profile_versions AS bigint;
ALTER TABLE profiles ADD COLUMN version bigint NOT NULL DEFAULT 0;
