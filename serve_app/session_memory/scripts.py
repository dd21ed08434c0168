"""What is done in Redis, each in one step that nothing comes between.

A dialogue is one list: its turns, oldest first, and behind them a header of when it began, when it
was added to, and how many messages and characters it holds. A turn is `messages characters JSON`.
Beside the dialogues there are two keys: `used`, when each was used last, and `sizes`, the characters
of each and of all.
"""

_BEGINNING = """
local used, sizes, session = KEYS[1], KEYS[2], KEYS[3]
local member, base, idle_s = ARGV[1], ARGV[2], tonumber(ARGV[4])

local now = ARGV[3]
if now == '' then
  local time = redis.call('TIME')
  now = string.format('%d.%06d', time[1], time[2])
end

local function forget(other)
  local existed = redis.call('DEL', base .. other)
  local chars = redis.call('HGET', sizes, other)
  if chars then
    redis.call('HINCRBY', sizes, 'total', string.format('%d', 0 - tonumber(chars)))
    redis.call('HDEL', sizes, other)
  end
  redis.call('ZREM', used, other)
  return existed
end

local function expire_later()
  for _, key in ipairs(KEYS) do
    redis.call('PEXPIRE', key, math.ceil(idle_s * 1000))
  end
end

-- So many at a time: whoever comes next goes on.
local idle_since = string.format('%.6f', tonumber(now) - idle_s)
for _, other in ipairs(redis.call('ZRANGEBYSCORE', used, '-inf', idle_since, 'LIMIT', 0, 100)) do
  forget(other)
end
"""

READ = (
    _BEGINNING
    + """
local dialogue = redis.call('LRANGE', session, 0, -1)
if #dialogue > 0 then
  redis.pcall('ZADD', used, now, member)  -- a Redis that is full can still be read
  expire_later()
end
return dialogue
"""
)

DELETE = (
    _BEGINNING
    + """
return forget(member)
"""
)

PUT = (
    _BEGINNING
    + """
local drop_oldest = tonumber(ARGV[5])  -- messages; -1: all that was known
local max_messages, max_chars = tonumber(ARGV[6]), tonumber(ARGV[7])
local max_sessions, max_total = tonumber(ARGV[8]), tonumber(ARGV[9])
local first = 10

local created, messages, chars = now, 0, 0
local header = redis.call('LINDEX', session, -1)
if header then
  -- A turn that was sent twice, since the answer to the first one was lost.
  if drop_oldest >= 0 and redis.call('LPOS', session, ARGV[first], 'RANK', -1, 'MAXLEN', 16) then
    return 0
  end
  local began, held, length = string.match(header, '^(%S+) %S+ (%d+) (%d+)$')
  if not began then
    return redis.error_reply('ERR this is no dialogue')
  end
  created, messages, chars = began, tonumber(held), tonumber(length)
end
-- A Redis that is full refuses a step only at its first write: it must be one that takes room.
redis.call('ZADD', used, now, member)
if header then
  redis.call('RPOP', session)
end

local function drop()
  local turn = redis.call('LPOP', session)
  if not turn then
    return nil
  end
  local held, length = string.match(turn, '^(%d+) (%d+) ')
  messages, chars = messages - tonumber(held), chars - tonumber(length)
  return tonumber(held)
end

if drop_oldest < 0 then
  redis.call('DEL', session)
  messages, chars = 0, 0
end
while drop_oldest > 0 do
  local held = drop()
  if not held then
    break
  end
  drop_oldest = drop_oldest - held
end
for at = first, #ARGV do
  local held, length = string.match(ARGV[at], '^(%d+) (%d+) ')
  redis.call('RPUSH', session, ARGV[at])
  messages, chars = messages + tonumber(held), chars + tonumber(length)
end
while (chars > max_chars or messages > max_messages) and drop() do
end
redis.call('RPUSH', session, string.format('%s %s %d %d', created, now, messages, chars))

local before = tonumber(redis.call('HGET', sizes, member) or 0)
redis.call('HSET', sizes, member, chars)
local total = redis.call('HINCRBY', sizes, 'total', chars - before)
for _ = 1, 1000 do
  if redis.call('ZCARD', used) <= max_sessions and total <= max_total then
    break
  end
  local oldest = redis.call('ZRANGE', used, 0, 0)[1]
  if oldest == member then
    break
  end
  forget(oldest)
  total = tonumber(redis.call('HGET', sizes, 'total'))
end
expire_later()
return 1
"""
)
