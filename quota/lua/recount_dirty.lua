-- recount_dirty EPOCH RECOUNT
-- keys: STATE DIRTY
-- uses: state
--
-- Answers {'ok', subject, "changes:bytes:objects", …} of what has changed since RECOUNT began (bytes -1: not known),
-- or {'no', 'NotReady'}.

if not enter(ARGV[1]) then return {'no', 'NotReady'} end
local answer, prefix = {'ok'}, ARGV[2] .. '|'
local all = redis.call('HGETALL', DIRTY)
for i = 1, #all, 2 do
  if string.sub(all[i], 1, #prefix) == prefix then
    answer[#answer + 1] = string.sub(all[i], #prefix + 1)
    answer[#answer + 1] = all[i + 1]
  end
end
return answer
