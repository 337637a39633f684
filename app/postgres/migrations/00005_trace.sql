-- The W3C traceparent of what wrote a message, which its receivers continue.
-- Null in rows that the version before this one writes.

-- +goose Up
alter table outbox add column traceparent text;

-- +goose Down
alter table outbox drop column traceparent;
