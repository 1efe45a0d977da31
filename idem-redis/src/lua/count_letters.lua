-- Counts the open letters.
return done(text(call('ZCARD', tag .. 'lo')))
