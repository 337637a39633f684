-- Every table carries tenant_id and row-level security admits only the rows of
-- the tenant that the transaction has named in app.tenant_id: the second wall
-- under the WHERE clauses. The owner, who migrates, is not subject to it; the
-- application's role is.

-- +goose Up

-- The group role is cluster-wide: other databases of the cluster may have it,
-- and two may make it at once.
-- +goose StatementBegin
do $$
begin
    create role loadbearing_app nologin;
exception
    when duplicate_object or unique_violation then null;
end
$$;
-- +goose StatementEnd

revoke create on schema public from public;
grant usage on schema public to loadbearing_app;

-- Null when the transaction names no tenant: then no row is visible.
create function current_tenant() returns uuid
    language sql stable parallel safe
    return nullif(current_setting('app.tenant_id', true), '')::uuid;

create table tenants (
    id         uuid primary key,
    name       text not null check (name <> ''),
    created_at timestamptz not null
);

create table users (
    id            uuid primary key,
    tenant_id     uuid not null references tenants (id) on delete cascade,
    email         text not null check (email = lower(email)),
    password_hash text not null,
    role          text not null check (role in ('viewer', 'editor', 'owner')),
    created_at    timestamptz not null,
    unique (tenant_id, id)
);
create unique index users_email on users (email);

create table sessions (
    id         uuid primary key,
    tenant_id  uuid not null,
    user_id    uuid not null,
    expires_at timestamptz not null,
    revoked_at timestamptz,
    created_at timestamptz not null default now(),
    unique (tenant_id, id),
    foreign key (tenant_id, user_id) references users (tenant_id, id) on delete cascade
);
create index sessions_user on sessions (tenant_id, user_id) where revoked_at is null;

-- All refresh tokens a session ever had: the one that is not used is valid, and
-- the used ones are kept so that their reuse is recognised.
create table refresh_tokens (
    hash       bytea primary key check (octet_length(hash) = 32),
    tenant_id  uuid not null,
    session_id uuid not null,
    used_at    timestamptz,
    created_at timestamptz not null default now(),
    foreign key (tenant_id, session_id) references sessions (tenant_id, id) on delete cascade
);
create index refresh_tokens_session on refresh_tokens (tenant_id, session_id);

create table projects (
    id          uuid primary key,
    tenant_id   uuid not null references tenants (id) on delete cascade,
    name        text not null check (name <> ''),
    description text not null,
    version     bigint not null check (version > 0),
    created_by  uuid not null,
    created_at  timestamptz not null,
    updated_at  timestamptz not null,
    unique (tenant_id, id),
    foreign key (tenant_id, created_by) references users (tenant_id, id)
);

create table jobs (
    id           uuid primary key,
    tenant_id    uuid not null,
    project_id   uuid not null,
    image_id     uuid not null,
    status       text not null check (status in ('queued', 'running', 'done', 'failed')),
    reason       text not null default '',
    source_key   text not null,
    content_type text not null,
    widths       int[] not null,
    renditions   jsonb not null default '[]',
    created_at   timestamptz not null,
    updated_at   timestamptz not null,
    foreign key (tenant_id, project_id) references projects (tenant_id, id) on delete cascade
);
create unique index jobs_image on jobs (tenant_id, image_id);
create index jobs_project on jobs (tenant_id, project_id, id);

create table videos (
    id           uuid primary key,
    tenant_id    uuid not null,
    project_id   uuid not null,
    filename     text not null,
    content_type text not null,
    bytes        bigint not null check (bytes >= 0),
    key          text not null,
    probe        jsonb,
    reason       text not null default '',
    probed_at    timestamptz,
    metered_at   timestamptz,
    created_at   timestamptz not null,
    updated_at   timestamptz not null,
    foreign key (tenant_id, project_id) references projects (tenant_id, id) on delete cascade
);
create index videos_project on videos (tenant_id, project_id, id);

create table usage_days (
    tenant_id uuid not null references tenants (id) on delete cascade,
    day       date not null,
    bytes     bigint not null,
    primary key (tenant_id, day)
);

-- What a consumer has applied, in the transaction that applied it: a message
-- delivered twice changes nothing the second time.
create table consumed_events (
    consumer    text not null,
    event_id    uuid not null,
    tenant_id   uuid not null references tenants (id) on delete cascade,
    consumed_at timestamptz not null default now(),
    primary key (consumer, event_id)
);
create index consumed_events_tenant on consumed_events (tenant_id);

create table outbox (
    sequence     bigint generated always as identity primary key,
    id           uuid not null,
    tenant_id    uuid not null,
    destination  text not null check (destination in ('jobs', 'events')),
    aggregate    uuid not null,
    event_type   text not null default '',
    body         text not null,
    attempts     int not null default 0,
    available_at timestamptz not null default now(),
    created_at   timestamptz not null default now()
);
create index outbox_aggregate on outbox (aggregate, sequence);

-- The payload is empty on purpose: PostgreSQL folds equal notifications of one
-- transaction into one.
-- +goose StatementBegin
create function outbox_notify() returns trigger language plpgsql as $$
begin
    perform pg_notify('outbox', '');
    return null;
end
$$;
-- +goose StatementEnd
create trigger outbox_notify after insert on outbox
    for each statement execute function outbox_notify();

-- Login and refresh start from an email and a token, before a tenant is known.
-- These two answer with the tenant only and read as the owner.
create function tenant_of_email(text) returns uuid
    language sql stable security definer set search_path = public, pg_temp
    return (select u.tenant_id from users u where u.email = $1);

create function tenant_of_refresh_token(bytea) returns uuid
    language sql stable security definer set search_path = public, pg_temp
    return (select t.tenant_id from refresh_tokens t where t.hash = $1);

revoke execute on function tenant_of_email(text), tenant_of_refresh_token(bytea) from public;
grant execute on function tenant_of_email(text), tenant_of_refresh_token(bytea) to loadbearing_app;

alter table tenants enable row level security;
create policy tenant on tenants using (id = current_tenant());
alter table users enable row level security;
create policy tenant on users using (tenant_id = current_tenant());
alter table sessions enable row level security;
create policy tenant on sessions using (tenant_id = current_tenant());
alter table refresh_tokens enable row level security;
create policy tenant on refresh_tokens using (tenant_id = current_tenant());
alter table projects enable row level security;
create policy tenant on projects using (tenant_id = current_tenant());
alter table jobs enable row level security;
create policy tenant on jobs using (tenant_id = current_tenant());
alter table videos enable row level security;
create policy tenant on videos using (tenant_id = current_tenant());
alter table usage_days enable row level security;
create policy tenant on usage_days using (tenant_id = current_tenant());
alter table consumed_events enable row level security;
create policy tenant on consumed_events using (tenant_id = current_tenant());

-- A tenant's transaction may only add to the outbox; the relay reads and
-- removes the messages of all tenants and says so in app.relay.
alter table outbox enable row level security;
create policy tenant on outbox for insert with check (tenant_id = current_tenant());
create policy relay on outbox using (current_setting('app.relay', true) = 'on');

grant select, insert on tenants to loadbearing_app;
grant select, insert, update, delete on
    users, sessions, refresh_tokens, projects, jobs, videos, usage_days, consumed_events, outbox
    to loadbearing_app;

-- +goose Down
drop table outbox, consumed_events, usage_days, videos, jobs, projects, refresh_tokens, sessions, users, tenants;
drop function outbox_notify(), tenant_of_email(text), tenant_of_refresh_token(bytea), current_tenant();
revoke usage on schema public from loadbearing_app;
