-- leave EPOCH WORKER COMMIT_MS MARGIN_MS
-- keys: STATE WORKERS LIMITS USAGE HOLDS KEYS_HASH UPLOADS DIRTY JOURNAL
-- uses: state room groups
--
-- Ends the lease of WORKER, or, with WORKER '', of every worker whose lease ran out MARGIN_MS ago. What they still
-- held is charged in doubt. Old tombstones of holds go as well. Asked often, by every worker and by the broker: holds are
-- gone through only when somebody was ended, and once a minute.
-- Answers {'ok', worker…} (those that were ended) or {'no', 'NotReady'}.

local now = enter(ARGV[1])
if not now then return {'no', 'NotReady'} end
local answer, gone = {'ok'}, {}
local all = redis.call('HGETALL', WORKERS)
for i = 1, #all, 2 do
  local name = all[i]
  if not string.find(name, ':', 1, true) then
    local expired = cjson.decode(all[i + 1]).exp + tonumber(ARGV[4]) <= now
    if name == ARGV[2] or (ARGV[2] == '' and expired) then
      gone[name] = true
      answer[#answer + 1] = name
      redis.call('HDEL', WORKERS, name, name .. ':transfers')
    end
  end
end
if #answer == 1 then
  if ARGV[2] ~= '' or now < tonumber(redis.call('HGET', STATE, 'swept') or '0') + 60000 then return answer end
end
redis.call('HSET', STATE, 'swept', text(now))
local known = {}
for i = 1, #all, 2 do known[all[i]] = true end
local holds = redis.call('HGETALL', HOLDS)
for i = 1, #holds, 2 do
  local h = cjson.decode(holds[i + 1])
  if h.x then
    if h.x + 600000 < now then redis.call('HDEL', HOLDS, holds[i]) end
  elseif gone[h.w] or not known[h.w] then
    settle(now, holds[i], 'doubt', -1, 0, 0, 0, tonumber(ARGV[3]))
  end
end
return answer
