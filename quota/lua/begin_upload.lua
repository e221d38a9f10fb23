-- begin_upload EPOCH WSID UPLOAD KEY NODE NODE_UPLOAD
-- keys: STATE WORKSPACES UPLOADS JOURNAL USAGE DIRTY
-- uses: state
--
-- Records a multipart upload before its client learns the id (rule 10). NODE_UPLOAD is sealed.
-- Answers {'ok'} or {'no', 'NotReady' | 'NoSuchBucket' | 'Draining'}.

local now = enter(ARGV[1])
if not now then return {'no', 'NotReady'} end
local ws = record(WORKSPACES, ARGV[2])
if not ws or ws.state == 'closed' then return {'no', 'NoSuchBucket'} end
if ws.state ~= 'open' then return {'no', 'Draining'} end
redis.call('HSET', UPLOADS, ARGV[3], cjson.encode({ws = ARGV[2], key = ARGV[4], node = ARGV[5], nu = ARGV[6], t = now, mb = 0, n = 0}))
redis.call('XADD', JOURNAL, 'MAXLEN', '~', '100000', '*', 'event', 'begin', 'upload', ARGV[3], 'workspace', ARGV[2],
  'key', ARGV[4], 'node', ARGV[5], 'node_upload', ARGV[6], 'at', text(now))
return {'ok'}
