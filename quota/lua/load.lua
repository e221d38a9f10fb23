-- load BUILDING CHANGES USAGE UPLOADS
-- keys: STATE CREDENTIALS USERS WORKSPACES GRANTS NAMES INDEX NODES LIMITS USAGE KEYS_HASH UPLOADS
-- uses: state room definitions
--
-- One batch of the rebuild called BUILDING, while no epoch is open: CHANGES a list, USAGE and UPLOADS {field: text}.
-- Answers {'ok'}, or {'no', 'Open'} when an epoch is open or another rebuild has begun since.

local s = redis.call('HMGET', STATE, 'epoch', 'building')
if s[1] or s[2] ~= ARGV[1] then return {'no', 'Open'} end
for _, change in ipairs(cjson.decode(ARGV[2])) do define(change, false) end
for field, value in pairs(cjson.decode(ARGV[3])) do redis.call('HSET', USAGE, field, value) end
for field, value in pairs(cjson.decode(ARGV[4])) do redis.call('HSET', UPLOADS, field, value) end
return {'ok'}
