// The peer of the comparison: a mutating webhook that turns the registry hosts
// of a Pod's images into imagePullSecrets, written with controller-runtime the
// way its documentation shows it. It never talks to a cluster, and it knows
// nothing of patterns, scopes or service accounts: it does less than pullpass.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"slices"

	"github.com/distribution/reference"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

// secretsByHost is the table: the hosts that review.json needs secrets for,
// with the names that compare.py's policies inject.
var secretsByHost = map[string][]string{
	"123456789012.dkr.ecr.eu-west-1.amazonaws.com": {"ecr-creds"},
	"docker.io":             {"dockerhub-creds"},
	"team-7-eu.example.com": {"team-7-creds"},
	"quay.io":               {"quay-creds"},
}

type podInjector struct {
	decoder admission.Decoder
}

func (p *podInjector) Handle(_ context.Context, req admission.Request) admission.Response {
	pod := &corev1.Pod{}
	if err := p.decoder.Decode(req, pod); err != nil {
		return admission.Errored(http.StatusBadRequest, err)
	}

	for _, container := range slices.Concat(pod.Spec.Containers, pod.Spec.InitContainers) {
		named, err := reference.ParseNormalizedNamed(container.Image)
		if err != nil {
			continue
		}
		for _, name := range secretsByHost[reference.Domain(named)] {
			secret := corev1.LocalObjectReference{Name: name}
			if !slices.Contains(pod.Spec.ImagePullSecrets, secret) {
				pod.Spec.ImagePullSecrets = append(pod.Spec.ImagePullSecrets, secret)
			}
		}
	}

	mutated, err := json.Marshal(pod)
	if err != nil {
		return admission.Errored(http.StatusInternalServerError, err)
	}
	return admission.PatchResponseFromRaw(req.Object.Raw, mutated)
}

func main() {
	host := flag.String("host", "127.0.0.1", "address to listen on")
	port := flag.Int("port", 9443, "port to listen on")
	certDir := flag.String("cert-dir", "", "directory that holds tls.crt and tls.key")
	flag.Parse()

	ctrl.SetLogger(zap.New())
	log := ctrl.Log.WithName("peer")

	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		log.Error(err, "cannot build the scheme")
		os.Exit(1)
	}

	server := webhook.NewServer(webhook.Options{Host: *host, Port: *port, CertDir: *certDir})
	server.Register("/mutate", &webhook.Admission{
		Handler: &podInjector{decoder: admission.NewDecoder(scheme)},
	})
	if err := server.Start(ctrl.SetupSignalHandler()); err != nil {
		log.Error(err, "the webhook server stopped")
		os.Exit(1)
	}
}
