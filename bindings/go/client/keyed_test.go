package client

import (
	"net/http"
	"testing"
	"time"
)

func keyedOf(t *testing.T, most int) *keyed {
	return newKeyed(most, func(key string) *Queue {
		queue, err := NewQueue(Options{}, &Monitor{Key: key})
		if err != nil {
			t.Fatal(err)
		}
		return queue
	})
}

func use(k *keyed, key string) *Queue {
	queue, end := k.lease(key)
	end()
	return queue
}

func TestAKeyKeepsItsState(t *testing.T) {
	k := keyedOf(t, 2)
	first := use(k, "a")
	if use(k, "a") != first || k.get("a") != first {
		t.Error("another queue")
	}
	if k.get("b") != nil {
		t.Error("a queue nobody asked for")
	}
}

func TestTheLeastRecentlyUsedIdleKeyIsForgotten(t *testing.T) {
	k := keyedOf(t, 2)
	for _, key := range []string{"a", "b", "a", "c"} {
		use(k, key)
	}
	if k.get("b") != nil || k.get("a") == nil || k.get("c") == nil {
		t.Error("another key was forgotten")
	}
}

func TestAKeyThatOwesIsNeverForgotten(t *testing.T) {
	k := keyedOf(t, 2)
	var slots []*Slot
	for _, key := range []string{"a", "b", "c", "d"} {
		slot, err := use(k, key).Slot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		slots = append(slots, slot)
	}
	if len(k.entries) != 4 || k.recent.Len() != 4 {
		t.Errorf("%d keys", len(k.entries))
	}
	for _, slot := range slots[:3] {
		slot.Cancel()
	}
	use(k, "d")
	if len(k.entries) != 2 || k.recent.Len() != 2 || k.get("d") == nil {
		t.Errorf("%d keys", len(k.entries))
	}
}

func TestAPausedKeyIsNeverForgotten(t *testing.T) {
	k := keyedOf(t, 1)
	use(k, "a").Pause(time.Hour)
	use(k, "b")
	use(k, "c")
	if k.get("a") == nil {
		t.Error("the pause is forgotten")
	}
}

func TestAKeyInUseIsNeverForgotten(t *testing.T) {
	k := keyedOf(t, 1)
	queue, end := k.lease("a")
	use(k, "b")
	if k.get("a") != queue {
		t.Error("it was forgotten")
	}
	end()
	use(k, "b")
	if k.get("a") != nil {
		t.Error("it is still kept")
	}
}

func TestTheDefaultKeyIsWhereARequestGoesAndWhoSendsIt(t *testing.T) {
	key := func(url string, lines ...string) string {
		request, err := http.NewRequest("GET", url, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header = header(lines...)
		return DefaultKey(request)
	}
	for _, same := range [][2]string{
		{key("http://a/x", "X-API-Key: k"), key("http://a/y?z", "x-api-key: k", "Authorization: t")},
		{key("http://a:80"), key("http://A")},
		{key("https://a:443"), key("https://a")},
	} {
		if same[0] != same[1] {
			t.Errorf("%q and %q", same[0], same[1])
		}
	}
	different := map[string]bool{
		key("http://a"):                          true,
		key("https://a"):                         true,
		key("http://b"):                          true,
		key("http://a:81"):                       true,
		key("http://[::1]"):                      true,
		key("http://a", "X-API-Key: k"):          true,
		key("http://a", "Authorization: Bearer"): true,
	}
	if len(different) != 7 {
		t.Errorf("%v", different)
	}
	if DefaultKey(&http.Request{}) != "" {
		t.Error("a request without a URL has a key")
	}
}

func TestTheDefaultKeyBetraysNoSecret(t *testing.T) {
	request, _ := http.NewRequest("GET", "http://a", nil)
	request.Header.Set("Authorization", "hunter2")
	if got, want := len(DefaultKey(request)), len("http://a:80 ")+32; got != want {
		t.Errorf("%q", DefaultKey(request))
	}
}
