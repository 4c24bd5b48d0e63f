package client

import (
	"container/list"
	"sync"
)

// MostKeys is how many keys a [Transport] keeps, as long as idle ones can be
// forgotten.
const MostKeys = 1024

// keyed makes a queue for each key that is asked for.
//
// Above most keys the least recently used idle ones are forgotten. A key that
// is in use, or that still owes its server a wait, never is: to forget it would
// break its limit. So more than most keys are kept only while more than most
// owe, each for about one window after its last request.
type keyed struct {
	make func(key string) *Queue
	most int

	mu      sync.Mutex
	entries map[string]*list.Element
	recent  list.List // Of *entry, the most recently used last.
}

type entry struct {
	key    string
	queue  *Queue
	leases int
}

func newKeyed(most int, make_ func(key string) *Queue) *keyed {
	return &keyed{make: make_, most: most, entries: make(map[string]*list.Element)}
}

// lease is the queue of a key, not to be forgotten until end is called.
func (k *keyed) lease(key string) (queue *Queue, end func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	element := k.entries[key]
	if element == nil {
		element = k.recent.PushBack(&entry{key: key, queue: k.make(key)})
		k.entries[key] = element
	}
	k.recent.MoveToBack(element)
	leased := element.Value.(*entry)
	leased.leases++
	k.forget()
	return leased.queue, func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		leased.leases--
	}
}

// get is the queue of a key if it is remembered, else nil.
func (k *keyed) get(key string) *Queue {
	k.mu.Lock()
	defer k.mu.Unlock()
	if element := k.entries[key]; element != nil {
		return element.Value.(*entry).queue
	}
	return nil
}

func (k *keyed) forget() {
	var next *list.Element
	for element := k.recent.Front(); element != nil && len(k.entries) > k.most; element = next {
		next = element.Next()
		if old := element.Value.(*entry); old.leases == 0 && !old.queue.owes() {
			k.recent.Remove(element)
			delete(k.entries, old.key)
		}
	}
}
