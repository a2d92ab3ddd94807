-- Why: calls that name a person are handled side by side and some of them twice; with the time of
-- each value and each device's link the later call wins in whatever order they come [profiles 2.2].
-- Locks: short ones while columns are added; no row is rewritten. Size: a number for each property.

ALTER TABLE profiles ADD COLUMN property_orders jsonb NOT NULL DEFAULT '{}';
ALTER TABLE profile_devices ADD COLUMN link_order bigint NOT NULL DEFAULT 0;
