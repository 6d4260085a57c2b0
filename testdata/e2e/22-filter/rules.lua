-- What the rspamd of this story does to a message, by a word in its subject.
local rspamd_util = require "rspamd_util"

local acts = {
  header = function(task)
    task:set_milter_reply({
      add_headers = { ['X-Filter'] = { value = 'seen', order = 1 }, ['X-Also'] = 'seen, too' },
      remove_headers = { ['X-Secret'] = 0 },
    })
  end,
  subject = function(task)
    task:set_metric_subject('a subject of rspamd')
    task:set_pre_result('rewrite subject', 'as told')
  end,
  body = function(task)
    task:set_message('From: rick@partner.test\r\nSubject: story body\r\nX-New: header\r\n\r\nanother body\r\n.\r\nof rspamd\r\n')
  end,
  recipients = function(task)
    task:set_milter_reply({ add_rcpt = { 'bob@inbound.test' }, del_rcpt = { 'ann@inbound.test' } })
  end,
  hold = function(task) task:set_pre_result('quarantine', 'to be looked at') end,
  reject = function(task) task:set_pre_result('reject', 'not this one') end,
  later = function(task) task:set_pre_result('soft reject', 'not now') end,
  discard = function(task) task:set_pre_result('discard', 'nobody wants it') end,
  slow = function(task)
    local finish = rspamd_util.get_time() + 2
    while rspamd_util.get_time() < finish do end
  end,
  die = function(task) os.execute('kill -9 $PPID') end,
}

rspamd_config:register_symbol({
  name = 'STORY',
  type = 'prefilter',
  priority = 10,
  callback = function(task)
    local act = acts[(task:get_header('Subject') or ''):match('^story (%a+)')]
    if act then act(task) end
  end,
})
