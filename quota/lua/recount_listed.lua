-- recount_listed EPOCH WSID RECOUNT
-- keys: STATE LIMITS USAGE HOLDS KEYS_HASH UPLOADS DIRTY JOURNAL
-- uses: state room groups
--
-- The listing is done. What changed or was under way meanwhile may be listed as it was before or after, and is told
-- from the books instead; what changes from now on is summed by itself (lib/groups.lua, recount_of).
-- Answers {'ok', subject, …} of those keys, or {'no', 'NotReady' | 'Gone'}.

local now = enter(ARGV[1])
if not now then return {'no', 'NotReady'} end
local ws, id = ARGV[2], ARGV[3]
if redis.call('HGET', USAGE, 'w:' .. ws .. ':rc') ~= id then return {'no', 'Gone'} end
local groups = redis.call('HKEYS', KEYS_HASH)
for _, subject in ipairs(groups) do
  if string.sub(subject, 1, #ws + 1) == ws .. '|' then
    local _, _, _, field = recount_of(ws, subject)
    redis.call('HSETNX', DIRTY, field, '0:-1:0')
  end
end
redis.call('HSET', USAGE, 'w:' .. ws .. ':rc', id .. '*')
local answer, prefix = {'ok'}, id .. '|' .. ws .. '|k'
for _, name in ipairs(redis.call('HKEYS', DIRTY)) do
  if string.sub(name, 1, #prefix) == prefix then answer[#answer + 1] = string.sub(name, #id + 2) end
end
return answer
