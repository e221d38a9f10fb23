-- apply EPOCH LEASE_MS CHANGES NAMES
-- keys: STATE CREDENTIALS USERS WORKSPACES GRANTS NAMES INDEX NODES LIMITS USAGE KEYS_HASH REVOCATIONS REVISIONS
-- uses: state room definitions
--
-- Applies changes that SQL has committed, each only over an older version, and publishes one numbered revocation that
-- names what they take away (rules 1, 2 and 12), all at once.
-- CHANGES: JSON [{k kind, i id, v version, d record as JSON text or null}…]; NAMES: JSON [name…].
-- Answers {'ok', revocation number or '0'} or {'no', 'NotReady'}.

local now = enter(ARGV[1])
if not now then return {'no', 'NotReady'} end
for _, change in ipairs(cjson.decode(ARGV[3])) do define(change, true) end
local names = cjson.decode(ARGV[4])
if #names == 0 then return {'ok', '0'} end
local rev = redis.call('HINCRBY', STATE, 'rev', 1)
redis.call('HSET', STATE, 'clock', text(now))
redis.call('HSET', REVISIONS, text(rev), text(now))
redis.call('HDEL', REVISIONS, text(rev - 10000), text(rev - 10000) .. ':cut')
redis.call('XADD', REVOCATIONS, 'MAXLEN', '~', '10000', '*', 'n', text(rev), 'epoch', ARGV[1], 'names', ARGV[4])
return {'ok', text(rev)}
