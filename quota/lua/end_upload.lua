-- end_upload EPOCH WSID UPLOAD
-- keys: STATE WORKSPACES UPLOADS JOURNAL USAGE DIRTY LIMITS HOLDS KEYS_HASH
-- uses: state room groups
--
-- Forgets an aborted upload and gives back what its parts were charged.
-- Answers {'ok', bytes freed} or {'no', 'NotReady'}.

local now = enter(ARGV[1])
if not now then return {'no', 'NotReady'} end
local ws = record(WORKSPACES, ARGV[2])
if not ws then return {'ok', '0'} end
return {'ok', text(forget_upload({ws = ARGV[2], owner = ws.owner, root = ws.root}, ARGV[3]))}
