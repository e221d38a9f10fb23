-- renew EPOCH WORKER SEEN LEASE_MS INFO CUTS TRANSFERS
-- keys: STATE WORKERS REVOCATIONS REVISIONS
-- uses: state
--
-- Takes or renews a worker's lease (rule 13). SEEN: the last revocation number it has applied, '' to register.
-- CUTS: "number:count …", transfers it cut since the last call. TRANSFERS: JSON, kept only while somebody watches.
-- A lease never reaches further than one lease past the oldest revocation that the worker has not applied.
-- Answers {'ok', granted ms, rev, last stream id, watched (0 | 1)} or {'no', 'NotReady' | 'Fenced'}.

local now, rev = enter(ARGV[1])
if not now then return {'no', 'NotReady'} end
local worker, lease = ARGV[2], tonumber(ARGV[4])
local seen, known = ARGV[3], redis.call('HGET', WORKERS, worker)
if seen == '' then
  if known then return {'no', 'Fenced'} end
  seen = rev
else
  if not known then return {'no', 'Fenced'} end
  if cjson.decode(known).exp <= now then return {'no', 'Fenced'} end
end
local expires = now + lease
if tonumber(seen) < tonumber(rev) then
  local published = redis.call('HGET', REVISIONS, text(tonumber(seen) + 1))
  if not published then return {'no', 'Fenced'} end
  expires = math.min(expires, tonumber(published) + lease)
  if expires <= now then return {'no', 'Fenced'} end
end
for number, count in string.gmatch(ARGV[6], '(%d+):(%d+)') do
  redis.call('HINCRBY', REVISIONS, number .. ':cut', count)
end
redis.call('HSET', WORKERS, worker, cjson.encode({exp = expires, seen = tonumber(seen), info = ARGV[5]}))
local watched = tonumber(redis.call('HGET', STATE, 'watch') or '0') > now
if watched and ARGV[7] ~= '' then redis.call('HSET', WORKERS, worker .. ':transfers', ARGV[7]) end
redis.call('HSET', STATE, 'clock', text(now))
local last = redis.call('XREVRANGE', REVOCATIONS, '+', '-', 'COUNT', 1)
return {'ok', text(expires - now), rev, last[1] and last[1][1] or '0-0', watched and '1' or '0'}
