-- link EPOCH AKID MEASURE AMOUNT
-- keys: STATE CREDENTIALS LINKS JOURNAL
-- uses: state
--
-- Counts what a link has been used for, and never beyond what it allows. MEASURE: 'd' downloads (record.max_downloads),
-- 'b' bytes dropped (record.max_bytes), 't' wrong passwords (10 in 15 minutes; an AMOUNT below 0 forgets them).
-- A negative AMOUNT gives back. What was counted is journalled into SQL, whose count, if higher, counts.
-- Answers {'ok', count}, {'full', count, ms until it is not, 0 for never} or {'no', 'NotReady' | 'InvalidAccessKeyId'}.

local now = enter(ARGV[1])
if not now then return {'no', 'NotReady'} end
local link = record(CREDENTIALS, ARGV[2])
if not link or link.kind ~= 'link' then return {'no', 'InvalidAccessKeyId'} end
local field, amount = ARGV[2] .. ':' .. ARGV[3], tonumber(ARGV[4])

if ARGV[3] == 't' then
  if amount < 0 then
    redis.call('HDEL', LINKS, field, field .. 'u')
    return {'ok', '0'}
  end
  local tries, until_ms = tonumber(redis.call('HGET', LINKS, field) or '0'), tonumber(redis.call('HGET', LINKS, field .. 'u') or '0')
  if until_ms <= now then tries, until_ms = 0, now + 900000 end
  if tries >= 10 then return {'full', text(tries), text(until_ms - now)} end
  redis.call('HSET', LINKS, field, text(tries + 1), field .. 'u', text(until_ms))
  return {'ok', text(tries + 1)}
end

local count = tonumber(redis.call('HGET', LINKS, field) or '0')
local known = given(ARGV[3] == 'd' and link.downloads or link.dropped) or 0
if known > count then count = known end
local most = given(ARGV[3] == 'd' and link.max_downloads or link.max_bytes)
if amount > 0 and most and count + amount > most then return {'full', text(count), '0'} end
count = math.max(0, count + amount)
redis.call('HSET', LINKS, field, text(count))
redis.call('XADD', JOURNAL, 'MAXLEN', '~', '100000', '*', 'event', 'link', 'link', ARGV[2], 'measure', ARGV[3], 'count', text(count))
return {'ok', text(count)}
