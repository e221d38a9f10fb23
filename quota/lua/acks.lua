-- acks EPOCH NUMBER
-- keys: STATE WORKERS REVISIONS
-- uses: state
--
-- Who has applied revocation NUMBER?
-- Answers {'ok', transfers cut so far, worker, seen, remaining ms, …} or {'no', 'NotReady'}.

local now = enter(ARGV[1])
if not now then return {'no', 'NotReady'} end
local answer = {'ok', redis.call('HGET', REVISIONS, ARGV[2] .. ':cut') or '0'}
local all = redis.call('HGETALL', WORKERS)
for i = 1, #all, 2 do
  if not string.find(all[i], ':', 1, true) then
    local w = cjson.decode(all[i + 1])
    answer[#answer + 1], answer[#answer + 2], answer[#answer + 3] = all[i], text(w.seen), text(w.exp - now)
  end
end
return answer
