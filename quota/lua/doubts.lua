-- doubts EPOCH WSID LIMIT
-- keys: STATE KEYS_HASH
-- uses: state
--
-- The groups of workspace WSID ('' = of all), with what is known of each.
-- Answers {'ok', now, {subject, group JSON}…} or {'no', 'NotReady'}.

local now = enter(ARGV[1])
if not now then return {'no', 'NotReady'} end
local answer, prefix, limit = {'ok', text(now)}, ARGV[2] == '' and '' or ARGV[2] .. '|', tonumber(ARGV[3])
local all = redis.call('HGETALL', KEYS_HASH)
for i = 1, #all, 2 do
  if string.sub(all[i], 1, #prefix) == prefix and #answer < limit + 2 then
    answer[#answer + 1] = {all[i], all[i + 1]}
  end
end
return answer
