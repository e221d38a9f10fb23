-- open_epoch BUILDING EPOCH RUN_ID PHASE REV
-- keys: STATE REVISIONS
-- uses: state
--
-- Writes the marker, last of all (rule 3). REV: the highest revocation number that SQL knows; numbers only rise.
-- PHASE: reads (nothing is written) or open. Answers {'ok', rev}, or {'no', 'Open'} when another rebuild than BUILDING
-- has begun since: what is loaded is not all of one, then.

if redis.call('HGET', STATE, 'building') ~= ARGV[1] then return {'no', 'Open'} end
redis.call('HDEL', STATE, 'building')
local rev = math.max(tonumber(redis.call('HGET', STATE, 'rev') or '0'), tonumber(ARGV[5])) + 1
redis.call('HSET', STATE, 'epoch', ARGV[2], 'run_id', ARGV[3], 'phase', ARGV[4], 'rev', text(rev))
return {'ok', text(rev)}
