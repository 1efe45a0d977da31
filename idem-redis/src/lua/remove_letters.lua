-- Removes up to so many letters that were closed at a time or earlier, with their markers.
local ids = call('ZRANGEBYSCORE', tag .. 'lc', '-inf', ARGV[first], 'LIMIT', 0, ARGV[first + 1])
for _, id in ipairs(ids) do
    call('HDEL', tag .. 'l', id)
    call('ZREM', tag .. 'la', id)
    call('ZREM', tag .. 'lc', id)
    call('HDEL', tag .. 'n', 'untold/' .. id)
    call('ZREM', tag .. 'nk', 'untold/' .. id)
end
return done(text(#ids))
