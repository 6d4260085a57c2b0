package main

import (
	"bytes"
	"context"
	"errors"

	"dancemta/internal/msgauth"
	"dancemta/queue"
	"dancemta/smtpd"
	"dancemta/smtpd/quotamail"
)

// noticesIdentity stands for who sent a mail about quotas, in log and list; no client
// or user is called so.
const noticesIdentity = "quota-notices"

// newNotices makes who tells postmaster of quotas that are used up; nil: nobody does.
func (p *parts) newNotices() (*quotamail.Notifier, error) {
	if !p.cfg.Limits.QuotaMail {
		return nil, nil
	}
	return quotamail.New(quotamail.Options{
		Hostname: p.cfg.Hostname.String(), Postmaster: p.cfg.Postmaster,
		Submit: p.submitNotice, Count: p.countNotices(), Logger: p.log,
	})
}

// tellOfQuotas is who hears of quotas that are used up; nil: nobody.
func (p *parts) tellOfQuotas() func(smtpd.OverQuota) {
	if p.notices == nil {
		return nil
	}
	return func(o smtpd.OverQuota) {
		p.notices.Note(quotamail.Used{Account: o.Account, Quota: o.Quota.Text(), Rule: o.Rule, Window: o.Quota.Per})
	}
}

// submitNotice queues a mail to postmaster as bounces are: from the null sender, so
// that nothing ever answers it, and through no rule and no quota. One that does not
// reach him ends with a line in the log, as a bounce to him does.
func (p *parts) submitNotice(ctx context.Context, message []byte) (string, error) {
	env := queue.Envelope{ID: queue.NewID(), Identity: noticesIdentity, Recipients: queue.To(p.cfg.Postmaster)}
	return string(env.ID), p.queue.Accept(ctx, env, bytes.NewReader(p.signNotice(message)))
}

// signNotice signs a mail to postmaster; without it is better than not at all.
func (p *parts) signNotice(message []byte) []byte {
	signed, err := p.live.Load().signer.Own(message)
	p.countSignature("quota-notice", err)
	if err != nil {
		if !errors.Is(err, msgauth.ErrUnsigned) {
			p.log.Warn("a mail about quotas is not signed", "error", err)
		}
		return message
	}
	return signed
}
