-- resolve EPOCH SUBJECT SEEN BYTES OBJECTS UPLOAD_GONE
-- keys: STATE LIMITS USAGE HOLDS KEYS_HASH UPLOADS DIRTY JOURNAL
-- uses: state room groups
--
-- Clears the doubt of a group by a look that found BYTES and OBJECTS, once the node can commit no more (rule 7).
-- SEEN: the group as `doubts` told it before the look, '' for whatever it is; one that has changed is busy.
-- UPLOAD_GONE '1': the upload that a doubtful Complete named is no longer there, so its parts are the object now.
-- Answers {'ok'}, {'early', ms to wait}, {'busy'} (members are live), {'lost'} (only a recount can tell) or
-- {'no', 'NotReady' | 'Gone'}.

local now = enter(ARGV[1])
if not now then return {'no', 'NotReady'} end
local g = load_group(ARGV[2])
if not g or g.q == 0 then return {'no', 'Gone'} end
if g.n > 0 or (ARGV[3] ~= '' and redis.call('HGET', KEYS_HASH, ARGV[2]) ~= ARGV[3]) then return {'busy'} end
if now < g.qt then return {'early', text(g.qt - now)} end
if g.b < 0 then return {'lost'} end
touch(g.p.ws, ARGV[2])
if g.up then
  if ARGV[6] == '1' or completing(g.up, 0) then forget_upload(g.p, g.up) end
end
g.ls = tonumber(ARGV[4]) > 0 and 1 or nil
finish(ARGV[2], g, tonumber(ARGV[4]), tonumber(ARGV[5]))
return {'ok'}
