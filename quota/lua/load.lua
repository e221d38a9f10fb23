-- load CHANGES
-- keys: STATE CREDENTIALS USERS WORKSPACES GRANTS NAMES INDEX NODES LIMITS USAGE KEYS_HASH
-- uses: state room definitions
--
-- One batch of a rebuild, while no epoch is open. Answers {'ok'}, or {'no', 'Open'} when one is.

if redis.call('HGET', STATE, 'epoch') then return {'no', 'Open'} end
for _, change in ipairs(cjson.decode(ARGV[1])) do define(change, false) end
return {'ok'}
