-- settle EPOCH COMMIT_MS {HOLD OUTCOME BASE BASE_OBJECTS BYTES OBJECTS}…
-- keys: STATE LIMITS USAGE HOLDS KEYS_HASH UPLOADS DIRTY JOURNAL
-- uses: state room groups
--
-- Ends holds, each at most once: done, none, doubt or look (lib/groups.lua). COMMIT_MS: how long the node may still
-- commit what it has wholly received.
-- Answers {'ok', result…} with ok | look | doubt | gone for each, or {'no', 'NotReady'}.

local now = enter(ARGV[1])
if not now then return {'no', 'NotReady'} end
local answer, commit_ms = {'ok'}, tonumber(ARGV[2])
for i = 3, #ARGV, 6 do
  answer[#answer + 1] = settle(now, ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3]),
    tonumber(ARGV[i + 4]), tonumber(ARGV[i + 5]), commit_ms)
end
return answer
