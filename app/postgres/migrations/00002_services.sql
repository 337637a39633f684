-- What the services beside the probe record, and who is told: search, seconds
-- metered, the order of events, webhooks. Everything is added and nothing is
-- taken away: the version before this one goes on working.

-- +goose Up

-- Who uploaded something is who is told what becomes of it. Null in rows of
-- before, and no foreign key: what a user has uploaded outlives the user.
--
-- events counts the events a row has emitted: the next one's sequence is one
-- more. It changes with the row, under its lock, so the numbers are in the
-- order of the changes and have no gaps.
alter table videos
    add column created_by uuid,
    add column events     int not null default 0,
    add column search     tsvector,
    add column indexed_at timestamptz;
alter table jobs
    add column created_by uuid,
    add column events     int not null default 0;

-- Milliseconds, not a float: the sum must not depend on the order.
alter table usage_days add column milliseconds bigint not null default 0;

-- Rows of before were announced when no index listened. Their words are made
-- here, as well as SQL can.
update videos set
    indexed_at = now(),
    search = array_to_tsvector(array_remove(
        regexp_split_to_array(lower(left(filename, 255)), '[^[:alnum:]]+'), '') || project_id::text);

create index videos_search on videos using gin (search);

-- The videos of a project whose words satisfy a query, newest first.
--
-- A policy's condition comes before any operator that is not marked leakproof,
-- and @@ is not: under row-level security the index on search is of no use.
-- Hence this function reads as the owner and holds the wall itself: it knows no
-- tenant but the transaction's. Its query must name the project as a word, or
-- the index would look at all tenants' videos.
-- +goose StatementBegin
create function search_videos(project uuid, query tsquery, before uuid, most int) returns setof uuid
    language sql stable security definer set search_path = public, pg_temp
begin atomic
    select v.id from videos v
    where v.search @@ query and v.tenant_id = current_tenant() and v.project_id = project and v.id < before
    order by v.id desc limit most;
end;
-- +goose StatementEnd

revoke execute on function search_videos(uuid, tsquery, uuid, int) from public;
grant execute on function search_videos(uuid, tsquery, uuid, int) to loadbearing_app;

-- How far the events of an aggregate were handed to the browser and the
-- webhook, and those that came before one they must follow.
create table notices (
    aggregate uuid primary key,
    tenant_id uuid not null references tenants (id) on delete cascade,
    sequence  bigint not null
);
create index notices_tenant on notices (tenant_id);

create table early_notices (
    aggregate uuid not null references notices (aggregate) on delete cascade,
    sequence  bigint not null,
    tenant_id uuid not null,
    body      text not null,
    primary key (aggregate, sequence)
);

create table webhooks (
    tenant_id  uuid primary key references tenants (id) on delete cascade,
    url        text not null check (url <> ''),
    secret     text not null check (secret <> ''),
    created_at timestamptz not null
);

alter table notices enable row level security;
create policy tenant on notices using (tenant_id = current_tenant());
alter table early_notices enable row level security;
create policy tenant on early_notices using (tenant_id = current_tenant());
alter table webhooks enable row level security;
create policy tenant on webhooks using (tenant_id = current_tenant());

grant select, insert, update, delete on notices, early_notices, webhooks to loadbearing_app;

-- +goose Down
drop table webhooks, early_notices, notices;
drop function search_videos(uuid, tsquery, uuid, int);
alter table usage_days drop column milliseconds;
alter table jobs drop column created_by, drop column events;
alter table videos drop column created_by, drop column events, drop column search, drop column indexed_at;
