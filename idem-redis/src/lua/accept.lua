-- Agrees to go on with what is there, under another id, with numbers above all that were given before.
-- Returns the id, the highest number that may have been given before, and whether there was something to
-- agree to. ARGV: the next id, the highest number that
-- the process reserved.
local known = redis.call('HMGET', KEYS[1], 'id', 'lost', 'numbers', 'notes', 'floor', 'above')
if not known[2] then
    return {known[1] or '', known[6] or '0', '0'}
end
local number = math.max(tonumber(known[3] or 0), tonumber(known[5] or 0), tonumber(ARGV[2])) + 4294967296
local notes = math.max(tonumber(known[4] or 0), number)
local function text(number)
    return string.format('%.0f', number)
end
if known[1] then
    redis.call('HSET', KEYS[1], 'was:' .. known[1], '1')
end
redis.call(
    'HSET', KEYS[1], 'id', ARGV[1], 'numbers', text(number), 'above', text(number), 'notes', text(notes)
)
redis.call('HDEL', KEYS[1], 'lost', 'floor')
return {ARGV[1], text(number), '1'}
