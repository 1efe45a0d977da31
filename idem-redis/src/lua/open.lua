-- Returns the id of the store and what was lost, and makes an empty store if there is none and it may.
-- ARGV: the id of one that is made, and whether it may.
local known = redis.call('HMGET', KEYS[1], 'id', 'lost')
if not known[1] and not known[2] and ARGV[2] == '1' then
    redis.call('HSET', KEYS[1], 'id', ARGV[1])
    return {ARGV[1], ''}
end
return {known[1] or '', known[2] or ''}
