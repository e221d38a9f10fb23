-- admit EPOCH AKID BUCKET NEED SOURCE KIND HOLD WORKER KEY BYTES OBJECTS UPLOAD PART VERSION
-- keys: STATE CREDENTIALS USERS WORKSPACES GRANTS NAMES LIMITS USAGE HOLDS KEYS_HASH UPLOADS DIRTY JOURNAL
-- uses: state decision permit room groups
--
-- The one question before a request is forwarded: is the credential live and in scope, the user enabled, which
-- workspace is it, does a live grant give the permission, and do all four levels have room?
--
-- BUCKET, SOURCE  virtual bucket names; SOURCE is what a copy reads ('' = no copy), authorised in the same call
-- NEED            permission on BUCKET: 1 read, 2 readwrite, 3 own
-- KIND            put | delete | copy | complete | part | partcopy | upload (of an upload that
--                 exists: list its parts, abort it)
-- BYTES           candidate size, -1 when it is learned later (`size`)
--
-- Answers {'ok', rev, uid, wsid, node, bucket, prefix, chain, share ends in (ms, 0 = never), versioned (0 | 1), duty,
--          warning [, source node, source bucket, source prefix]}
--      or {'no', code, …} (quota/answers.py).

local now, rev, phase = enter(ARGV[1])
if not now then return {'no', 'NotReady'} end
local akid, need, source, kind = ARGV[2], tonumber(ARGV[4]), ARGV[5], ARGV[6]

local answer, d = permit(now, rev, akid, ARGV[3], need, source)
if not answer then return d end
local ws = d.ws

local place = {ws = d.id, owner = ws.owner, root = ws.root}
local key, upload, part, version = ARGV[9], ARGV[12], ARGV[13], ARGV[14]
local hold = ARGV[7]
if upload ~= '' then
  local raw = redis.call('HGET', UPLOADS, upload)
  if not raw then return {'no', 'NoSuchUpload'} end
  local u = cjson.decode(raw)
  if u.ws ~= d.id or u.key ~= key then return {'no', 'NoSuchUpload'} end
  if kind == 'upload' then return answer end
  -- The object's size is settled by what its parts are when it is completed.
  if kind ~= 'complete' and (u.c or 0) > 0 then return {'no', 'Completing'} end
end
local subject, base
subject, kind, base = subject_of(ws, d.id, kind, hold, key, upload, part, version)
if phase ~= 'open' and kind ~= 'delete' and kind ~= 'mark' then
  return {'no', 'Recounting', 'realm', ''}
end
local refused, duty, warning = join(now, place, subject, hold, ARGV[8], akid, kind, tonumber(ARGV[10]),
  tonumber(ARGV[11]), base, upload)
if refused then return refused end
answer[11], answer[12] = duty, warning
return answer
