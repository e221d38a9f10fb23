-- permit(now, rev, akid, bucket, need, source) -> answer, decision; nil and a denial where there is none.
--   answer:   as `admit` gives it for what takes no room (quota/answers.py)
--   source:   what a copy reads ('' = no copy), authorised as well

local function permit(now, rev, akid, bucket, need, source)
  local credential, denial = live_credential(now, akid)
  if denial then return nil, denial end
  local d
  d, denial = decide(now, credential, bucket, need)
  if denial then return nil, denial end
  local ws = d.ws
  local ends = ends_in(now, d)
  local answer = {'ok', rev, d.uid, d.id, ws.node, ws.bucket, ws.prefix, chain(akid, d), text(ends),
    ws.versioned and '1' or '0', 'none', ''}
  if source == '' then return answer, d end

  local s, refused = decide(now, credential, source, 1)
  if refused then return nil, refused end
  answer[8] = answer[8] .. ' ' .. chain(akid, s)
  local source_ends = ends_in(now, s)
  if source_ends > 0 and (ends == 0 or source_ends < ends) then answer[9] = text(source_ends) end
  answer[13], answer[14], answer[15] = s.ws.node, s.ws.bucket, s.ws.prefix
  return answer, d
end
