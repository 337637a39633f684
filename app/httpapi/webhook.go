package httpapi

import (
	"crypto/rand"
	"net/http"
	"time"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/app/webhook"
)

type webhookJSON struct {
	URL       string    `json:"url"`
	Secret    string    `json:"secret,omitempty"` // only when it is new: nobody is told it again
	CreatedAt time.Time `json:"created_at"`
}

// setWebhook makes the tenant's webhook, or another address or secret of it:
// every call makes a new secret, and the one before counts no more.
func (a *api) setWebhook(w http.ResponseWriter, req *http.Request) error {
	in, err := readJSON[struct {
		URL string `json:"url"`
	}](req)
	if err != nil {
		return err
	}
	if err := webhook.CheckURL(in.URL); err != nil {
		return invalid("url", err.Error())
	}
	secret, err := webhook.NewSecret(rand.Reader)
	if err != nil {
		return err
	}
	hook := app.Webhook{TenantID: caller(req).TenantID, URL: in.URL, Secret: secret, CreatedAt: a.Now().UTC().Truncate(time.Microsecond)}
	if err := a.Webhooks.Set(req.Context(), hook); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, webhookJSON{URL: hook.URL, Secret: hook.Secret, CreatedAt: hook.CreatedAt})
}

func (a *api) getWebhook(w http.ResponseWriter, req *http.Request) error {
	hook, err := a.Webhooks.Get(req.Context(), caller(req).TenantID)
	if err != nil {
		return missing(err, "webhook")
	}
	return writeJSON(w, http.StatusOK, webhookJSON{URL: hook.URL, CreatedAt: hook.CreatedAt.UTC()})
}

func (a *api) deleteWebhook(w http.ResponseWriter, req *http.Request) error {
	if err := a.Webhooks.Delete(req.Context(), caller(req).TenantID); err != nil {
		return missing(err, "webhook")
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
