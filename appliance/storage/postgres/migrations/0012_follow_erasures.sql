-- Why: an erasure waits until the queue has passed what was on it when the person's ids were frozen,
-- also across restarts of the worker, and proves at its end that nothing is left [profiles 9.8].
-- Locks: a short one while the columns are added; no row is rewritten. Size: some hundred bytes an
-- erasure.

ALTER TABLE compliance_requests ADD COLUMN queue_marks jsonb;
ALTER TABLE compliance_requests ADD COLUMN receipt jsonb;
