-- recount_pause EPOCH WSID RECOUNT MS SUBJECT…
-- keys: STATE USAGE DIRTY
-- uses: state
--
-- For MS milliseconds nothing more joins on those keys of a versioned bucket (lib/groups.lua, is_paused), so that a key
-- that is written without a break can be looked at once while it is still (rule 11).
-- Answers {'ok'}, or {'no', 'NotReady' | 'Gone'}.

local now = enter(ARGV[1])
if not now then return {'no', 'NotReady'} end
if redis.call('HGET', USAGE, 'w:' .. ARGV[2] .. ':rc') ~= ARGV[3] .. '*' then return {'no', 'Gone'} end
for i = 5, #ARGV do
  redis.call('HSET', DIRTY, ARGV[3] .. '|!' .. ARGV[i], text(now + tonumber(ARGV[4])))
end
return {'ok'}
