-- end_upload EPOCH WSID UPLOAD
-- keys: STATE WORKSPACES UPLOADS JOURNAL USAGE DIRTY LIMITS HOLDS KEYS_HASH
-- uses: state room groups
--
-- Forgets an aborted upload and gives back what its parts were charged; where a Complete of it is under way or in
-- doubt, only once that has ended: the parts may have become the object.
-- Answers {'ok', bytes freed} or {'no', 'NotReady'}.

local now = enter(ARGV[1])
if not now then return {'no', 'NotReady'} end
local ws = record(WORKSPACES, ARGV[2])
if not ws then return {'ok', '0'} end
local raw = redis.call('HGET', UPLOADS, ARGV[3])
if raw then
  local u = cjson.decode(raw)
  if (u.c or 0) > 0 then
    u.ab = 1
    redis.call('HSET', UPLOADS, ARGV[3], cjson.encode(u))
    return {'ok', '0'}
  end
end
return {'ok', text(forget_upload({ws = ARGV[2], owner = ws.owner, root = ws.root}, ARGV[3]))}
