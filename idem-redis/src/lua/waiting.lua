-- Counts the rows that wait for an attempt, and returns the time of the oldest's message.
local rows = tag .. 'dw'
local oldest = call('ZRANGE', rows, 0, 0, 'WITHSCORES')
return done({text(call('ZCARD', rows)), oldest[2] or ''})
