-- Appends an entry to a user's stream unless it is there already.
-- KEYS: the stream; the ids of its entries by number; the channel to ring.
-- ARGV: the entry's id; its body; how many entries to keep; their life in ms.
local stream, ids, bell = KEYS[1], KEYS[2], KEYS[3]
local id, body, history, ttl = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

local epoch, number
local last = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
if last then
  epoch, number = string.match(last[1], '^(%d+)-(%d+)$')
  -- Redis may have evicted the one key and not the other.
  if redis.call('EXISTS', ids) == 0 then
    for _, entry in ipairs(redis.call('XRANGE', stream, '-', '+')) do
      redis.call('ZADD', ids, string.match(entry[1], '%d+$'), entry[2][2])
    end
  end
  if redis.call('ZSCORE', ids, id) then return 0 end
else
  redis.call('DEL', ids)
  local now = redis.call('TIME')
  epoch, number = now[1] .. string.format('%03d', math.floor(tonumber(now[2]) / 1000)), 0
end
number = string.format('%.0f', number + 1)

redis.call('XADD', stream, 'MAXLEN', '~', history, epoch .. '-' .. number, 'id', id, 'body', body)
redis.call('ZADD', ids, number, id)
local first = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
redis.call('ZREMRANGEBYSCORE', ids, '-inf', '(' .. string.match(first[1], '%d+$'))
redis.call('PEXPIRE', stream, ttl)
redis.call('PEXPIRE', ids, ttl)
redis.call('PUBLISH', bell, '')
return 1
