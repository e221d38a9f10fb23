-- join EPOCH WORKER AKID WSID {HOLD KEY VERSION}…
-- keys: STATE WORKSPACES LIMITS USAGE HOLDS KEYS_HASH UPLOADS DIRTY JOURNAL
-- uses: state room groups
--
-- Joins the groups of many keys that one admitted request deletes (DeleteObjects).
-- Answers {'ok', duty…} in the order asked, or {'no', 'NotReady' | 'NoSuchBucket'}. A duty is known, read, tell,
-- wait or lost; a denial of one key is the string 'no'.

local now = enter(ARGV[1])
if not now then return {'no', 'NotReady'} end
local ws = record(WORKSPACES, ARGV[4])
if not ws then return {'no', 'NoSuchBucket'} end
local place = {ws = ARGV[4], owner = ws.owner, root = ws.root}
local answer = {'ok'}
for i = 5, #ARGV, 3 do
  local hold, key, version = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local subject, kind, base = subject_of(ws, place.ws, 'delete', hold, key, '', '', version)
  local refused, duty = join(now, place, subject, hold, ARGV[2], ARGV[3], kind, 0, 0, base, '')
  answer[#answer + 1] = refused and 'no' or duty
end
return answer
