-- why EPOCH UID AKID BUCKET NEED
-- keys: STATE CREDENTIALS USERS WORKSPACES GRANTS NAMES LIMITS USAGE
-- uses: state decision room
--
-- The decision that admit would make, told instead of carried out. AKID '' asks for UID with an unscoped credential.
-- Answers {'ok' | 'no', code…} first, then JSON of what was found.

local now = enter(ARGV[1])
if not now then return {{'no', 'NotReady'}, '{}'} end
local credential, denial = {user = ARGV[2], enabled = true, kind = 'key'}, nil
if ARGV[3] ~= '' then
  credential, denial = live_credential(now, ARGV[3])
  if denial then return {denial, '{}'} end
end
local d
d, denial = decide(now, credential, ARGV[4], tonumber(ARGV[5]))
local found = {have = d.have, cap = d.cap, via = d.via, workspace = d.id, grant = d.grant,
  owner = d.ws and d.ws.owner or nil}
if d.ws and not denial and tonumber(ARGV[5]) > 1 then
  -- Would one more byte, or one more object, fit?
  local place = {ws = d.id, owner = d.ws.owner, root = d.ws.root}
  local full, warning = room(now, place, 1, 1)
  found.warning = warning
  if full then found.full = full end
end
return {denial or {'ok'}, cjson.encode(found)}
