-- open_epoch EPOCH RUN_ID PHASE REV
-- keys: STATE REVISIONS
-- uses: state
--
-- Writes the marker, last of all (rule 3). REV: the highest revocation number that SQL knows; numbers only rise.
-- PHASE: reads (nothing is written) or open. Answers {'ok', rev}.

local rev = math.max(tonumber(redis.call('HGET', STATE, 'rev') or '0'), tonumber(ARGV[4])) + 1
redis.call('HSET', STATE, 'epoch', ARGV[1], 'run_id', ARGV[2], 'phase', ARGV[3], 'rev', text(rev))
return {'ok', text(rev)}
