-- Why: in an isolated network addresses are private, so only the operator knows where they are: a
-- table of their networks. A number says whether anything about places has changed, the imported
-- database file included, so that every process learns of it within seconds (docs/geo.md).
-- Locks: none; the tables are new.
-- Size: one row for each network of the operator, at most 100 000.

CREATE TABLE geo_networks (
    network cidr PRIMARY KEY,
    site text NOT NULL DEFAULT '',
    continent text NOT NULL DEFAULT '',
    country text NOT NULL DEFAULT '',
    region text NOT NULL DEFAULT '',
    city text NOT NULL DEFAULT '',
    postal_code text NOT NULL DEFAULT '',
    timezone text NOT NULL DEFAULT '',
    latitude double precision,
    longitude double precision,
    CHECK ((latitude IS NULL) = (longitude IS NULL))
);

CREATE TABLE geo_changes (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    version bigint NOT NULL DEFAULT 0
);
INSERT INTO geo_changes DEFAULT VALUES;

CREATE FUNCTION count_geo_change() RETURNS trigger LANGUAGE plpgsql AS $count$
BEGIN
    UPDATE geo_changes SET version = version + 1;
    RETURN NULL;
END
$count$;

CREATE TRIGGER geo_networks_counted
    AFTER INSERT OR DELETE OR UPDATE ON geo_networks
    FOR EACH STATEMENT EXECUTE FUNCTION count_geo_change();
