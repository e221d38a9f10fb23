-- reassert EPOCH WORKER {HOLD WSID KIND KEY UPLOAD PART VERSION BYTES OBJECTS}…
-- keys: STATE WORKSPACES LIMITS USAGE HOLDS KEYS_HASH UPLOADS DIRTY JOURNAL
-- uses: state room groups
--
-- Takes into a new epoch what a live worker has released to a node and has no answer for (rule 4): charged in full
-- whether or not there is room, with the base lost, so that only a recount can tell how it ended. Holds that are known
-- already are left as they are.
-- Answers {'ok', how many were taken} or {'no', 'NotReady'}.

local now = enter(ARGV[1])
if not now then return {'no', 'NotReady'} end
local taken = 0
for i = 3, #ARGV, 9 do
  local hold, id, kind, key, upload, part, version = unpack(ARGV, i, i + 6)
  local bytes, objects = math.max(0, tonumber(ARGV[i + 7])), tonumber(ARGV[i + 8])
  local ws = record(WORKSPACES, id)
  if ws and redis.call('HEXISTS', HOLDS, hold) == 0 then
    local subject, sort, base = subject_of(ws, id, kind, hold, key, upload, part, version)
    local g = load_group(subject) or {p = {ws = id, owner = ws.owner, root = ws.root}, b = base or -2, bo = 0,
      mx = 0, mo = 0, hb = 0, ho = 0, m = {}, n = 0, e = 0, q = 0}
    if g.b == -1 then g.b = -2 end
    if g.dd then in_doubt(g, false) end
    g.mx, g.mo = math.max(g.mx, bytes), math.max(g.mo, objects)
    hold_exactly(g, math.max(g.hb, g.mx - math.max(0, g.b)), math.max(g.ho, g.mo))
    g.m[hold], g.n, g.lk = 1, g.n + 1, nil
    if kind == 'complete' then
      g.cu = g.cu or {}
      g.cu[upload] = 1
      completing(upload, 1)
    end
    redis.call('HSET', HOLDS, hold, cjson.encode({w = ARGV[2], g = subject, k = sort, s = bytes, so = objects,
      up = upload ~= '' and upload or nil, t = now}))
    save_group(subject, g)
    touch(id, subject)
    taken = taken + 1
  end
end
return {'ok', text(taken)}
