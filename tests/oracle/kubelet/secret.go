package main

import (
	"encoding/json"
	"fmt"
	"reflect"

	v1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/credentialprovider"
	"k8s.io/kubernetes/pkg/credentialprovider/secrets"
)

// secret is a Secret as far as a keyring is made of it.
type secret struct {
	Type string            `json:"type"`
	Data map[string][]byte `json:"data"`
}

// entry is one login of a keyring. Bytes, as a kubelet takes any.
type entry struct {
	Key      []byte `json:"key"`
	Username []byte `json:"username"`
	Password []byte `json:"password"`
}

// found is the answer for a Secret that is read, or for an image: its logins, in the kubelet's order.
type found struct {
	Entries []entry `json:"entries"`
}

// refused is the answer for a Secret that fails all pulls of a Pod.
type refused struct {
	Error string `json:"error"`
}

// keyring makes the keyring of one Secret, without any logins of the node. A Secret that a kubelet does not take for a pull
// secret gives an empty one.
func keyring(given secret) (*credentialprovider.BasicDockerKeyring, error) {
	none := &credentialprovider.BasicDockerKeyring{}
	object := v1.Secret{Type: v1.SecretType(given.Type), Data: given.Data}
	made, err := secrets.MakeDockerKeyring([]v1.Secret{object}, none)
	if err != nil {
		return nil, err
	}
	union, ok := made.(credentialprovider.UnionDockerKeyring)
	if !ok {
		return none, nil
	}
	return union[0].(*credentialprovider.BasicDockerKeyring), nil
}

// answerSecret lists what the keyring of one Secret holds, sorted by nothing: its logins are in a map that only this
// package's reflection can see.
func answerSecret(line []byte) (any, error) {
	var given secret
	if err := json.Unmarshal(line, &given); err != nil {
		return nil, err
	}
	ring, err := keyring(given)
	if err != nil {
		return refused{Error: err.Error()}, nil
	}
	answer := found{Entries: []entry{}}
	logins := reflect.ValueOf(ring).Elem().FieldByName("creds")
	if !logins.IsValid() {
		return nil, fmt.Errorf("the keyring has no field creds any more")
	}
	for _, key := range logins.MapKeys() {
		list := logins.MapIndex(key)
		for index := range list.Len() {
			answer.Entries = append(answer.Entries, entry{
				Key:      []byte(key.String()),
				Username: []byte(list.Index(index).FieldByName("Username").String()),
				Password: []byte(list.Index(index).FieldByName("Password").String()),
			})
		}
	}
	return answer, nil
}

// question asks what a kubelet would pull an image with.
type question struct {
	Secret secret `json:"secret"`
	Image  string `json:"image"`
}

// answerLookup lists the logins that a kubelet with one Secret tries for one image, in its order.
func answerLookup(line []byte) (any, error) {
	var given question
	if err := json.Unmarshal(line, &given); err != nil {
		return nil, err
	}
	ring, err := keyring(given.Secret)
	if err != nil {
		return refused{Error: err.Error()}, nil
	}
	answer := found{Entries: []entry{}}
	logins, _ := ring.Lookup(given.Image)
	for _, login := range logins {
		answer.Entries = append(answer.Entries, entry{
			Key:      []byte{},
			Username: []byte(login.Username),
			Password: []byte(login.Password),
		})
	}
	return answer, nil
}
