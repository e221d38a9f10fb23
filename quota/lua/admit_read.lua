-- admit_read EPOCH AKID BUCKET NEED
-- keys: STATE CREDENTIALS USERS WORKSPACES GRANTS NAMES
-- uses: state decision permit
--
-- `admit` for what takes no room: by itself, because every script makes all its functions anew for each call, and most
-- requests need none of those that keep the books.
--
-- Answers as `admit` does.

local now, rev = enter(ARGV[1])
if not now then return {'no', 'NotReady'} end
local answer, denial = permit(now, rev, ARGV[2], ARGV[3], tonumber(ARGV[4]), '')
return answer or denial
