package mavera_test

import (
	"net/http"
	"net/http/httptest"
)

// serve is a request as a handler gets it, and its answer.
func serve(handler http.Handler, method, target, key string) *httptest.ResponseRecorder {
	request := httptest.NewRequest(method, target, nil)
	if key != "" {
		request.Header.Set("X-API-Key", key)
	}
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, request)
	return recorder
}
