-- uploads EPOCH WSID LIMIT
-- keys: STATE UPLOADS
-- uses: state
--
-- The multipart uploads in progress of one workspace.
-- Answers {'ok', upload, record, …} or {'no', 'NotReady'}.

if not enter(ARGV[1]) then return {'no', 'NotReady'} end
local answer, limit = {'ok'}, tonumber(ARGV[3])
local all = redis.call('HGETALL', UPLOADS)
for i = 1, #all, 2 do
  if not string.find(all[i], ':', 1, true) and #answer < 2 * limit then
    if cjson.decode(all[i + 1]).ws == ARGV[2] then
      answer[#answer + 1], answer[#answer + 2] = all[i], all[i + 1]
    end
  end
end
return answer
