-- recount_begin EPOCH WSID RECOUNT
-- keys: STATE USAGE DIRTY WORKSPACES
-- uses: state
--
-- From now on every key that changes in the workspace is dirty for RECOUNT, which replaces one that ran (rule 11).
-- Answers {'ok'} or {'no', 'NotReady' | 'NoSuchBucket'}.

if not enter(ARGV[1]) then return {'no', 'NotReady'} end
if not record(WORKSPACES, ARGV[2]) then return {'no', 'NoSuchBucket'} end
local field = 'w:' .. ARGV[2] .. ':rc'
local old = string.match(redis.call('HGET', USAGE, field) or '', '^[^*]+')
if old then
  for _, name in ipairs(redis.call('HKEYS', DIRTY)) do
    if string.sub(name, 1, #old + 1) == old .. '|' then redis.call('HDEL', DIRTY, name) end
  end
end
redis.call('HSET', USAGE, field, ARGV[3])
return {'ok'}
