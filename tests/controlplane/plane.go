package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Longer than each part takes to start on a machine that has other work.
const patience = 2 * time.Minute

const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Metadata
`

// The controllers that tests have use for. There are no nodes but those that a test makes up, so nothing that looks after them.
var controllers = []string{
	"clusterrole-aggregation-controller", "cronjob-controller", "daemonset-controller", "deployment-controller",
	"disruption-controller", "endpointslice-controller", "garbage-collector-controller", "job-controller", "namespace-controller",
	"replicaset-controller", "replicationcontroller-controller", "resourcequota-controller",
	"root-ca-certificate-publisher-controller", "serviceaccount-controller", "serviceaccount-token-controller",
	"statefulset-controller", "validatingadmissionpolicy-status-controller",
}

// plane is a control plane in a directory of its own.
type plane struct {
	binaries, directory string
	// Held as long as the directory is in use.
	lock                      *os.File
	etcdPort, peerPort, port  int
	adminToken, managerToken  string
	etcd, apiServer, managers *process
	client                    http.Client
}

// description is what the first line says.
type description struct {
	URL        string         `json:"url"`
	CAFile     string         `json:"caFile"`
	Kubeconfig string         `json:"kubeconfig"`
	Token      string         `json:"token"`
	Directory  string         `json:"directory"`
	AuditLog   string         `json:"auditLog"`
	Binaries   string         `json:"binaries"`
	ProcessIDs map[string]int `json:"processIds"`
}

// newPlane makes a directory with everything in it that the parts read.
func newPlane(binaries string) (*plane, error) {
	binaries, err := filepath.Abs(binaries)
	if err != nil {
		return nil, err
	}
	removeLeftovers()
	p := &plane{binaries: binaries, adminToken: rand.Text(), managerToken: rand.Text()}
	if p.directory, err = os.MkdirTemp("", prefix); err != nil {
		return nil, err
	}
	if err := p.prepare(); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *plane) prepare() (err error) {
	if p.lock, err = lockDirectory(p.directory); err != nil {
		return err
	}
	if err := writeCertificates(p.directory); err != nil {
		return err
	}
	roots := x509.NewCertPool()
	text, err := os.ReadFile(p.path("ca.crt"))
	if err != nil || !roots.AppendCertsFromPEM(text) {
		return fmt.Errorf("cannot read the CA back: %w", err)
	}
	p.client = http.Client{
		Timeout:   5 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true},
	}
	for _, port := range []*int{&p.etcdPort, &p.peerPort, &p.port} {
		if *port, err = freePort(); err != nil {
			return err
		}
	}
	tokens := fmt.Sprintf("%s,admin,admin,system:masters\n%s,system:kube-controller-manager,manager,\n", p.adminToken, p.managerToken)
	return errors.Join(
		p.write("tokens.csv", tokens),
		p.write("audit-policy.yaml", auditPolicy),
		p.write("admin.kubeconfig", p.kubeconfig(p.adminToken)),
		p.write("manager.kubeconfig", p.kubeconfig(p.managerToken)),
	)
}

// start starts all parts and waits until the first namespace has its account.
func (p *plane) start() error {
	if err := p.startEtcd(); err != nil {
		return err
	}
	if err := p.startAPIServer(); err != nil {
		return err
	}
	var err error
	p.managers, err = startProcess(p.directory, p.binary("kube-controller-manager"),
		"--kubeconfig="+p.path("manager.kubeconfig"),
		"--secure-port=0",
		"--leader-elect=false",
		"--use-service-account-credentials",
		"--service-account-private-key-file="+p.path("service-account.key"),
		"--root-ca-file="+p.path("ca.crt"),
		"--kube-api-qps=200", "--kube-api-burst=400",
		"--controllers="+strings.Join(controllers, ","),
	)
	if err != nil {
		return err
	}
	return p.managers.until("making accounts", patience, func() error {
		return p.get("/api/v1/namespaces/default/serviceaccounts/default")
	})
}

func (p *plane) startEtcd() error {
	client, peer := fmt.Sprintf("http://127.0.0.1:%d", p.etcdPort), fmt.Sprintf("http://127.0.0.1:%d", p.peerPort)
	var err error
	// Without fsync: what the tests write need not outlive a power cut.
	p.etcd, err = startProcess(p.directory, p.binary("etcd"),
		"--name=one", "--data-dir="+p.path("etcd"), "--unsafe-no-fsync", "--log-level=warn",
		"--listen-client-urls="+client, "--advertise-client-urls="+client,
		"--listen-peer-urls="+peer, "--initial-advertise-peer-urls="+peer, "--initial-cluster=one="+peer,
	)
	if err != nil {
		return err
	}
	return p.etcd.until("healthy", patience, func() error {
		return succeed(http.Get(client + "/health"))
	})
}

func (p *plane) startAPIServer() error {
	var err error
	p.apiServer, err = startProcess(p.directory, p.binary("kube-apiserver"),
		fmt.Sprintf("--etcd-servers=http://127.0.0.1:%d", p.etcdPort),
		"--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", p.port),
		"--advertise-address=127.0.0.1", "--external-hostname=127.0.0.1", "--endpoint-reconciler-type=none",
		"--tls-cert-file="+p.path("apiserver.crt"), "--tls-private-key-file="+p.path("apiserver.key"),
		"--token-auth-file="+p.path("tokens.csv"),
		"--authorization-mode=RBAC", "--anonymous-auth=false",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file="+p.path("service-account.key"),
		"--service-account-signing-key-file="+p.path("service-account.key"),
		"--service-cluster-ip-range=10.0.0.0/24",
		// Nothing forwards a Service's address here: webhooks are called at the addresses of its EndpointSlices.
		"--enable-aggregator-routing=true",
		"--audit-policy-file="+p.path("audit-policy.yaml"), "--audit-log-path="+p.path("audit.log"),
		// Otherwise it waits a minute for its watches when it stops.
		"--shutdown-send-retry-after", "--profiling=false",
	)
	if err != nil {
		return err
	}
	return p.apiServer.until("ready", patience, func() error { return p.get("/readyz") })
}

// obey does what a line says.
func (p *plane) obey(line string) error {
	switch line {
	case "stop-apiserver":
		p.apiServer.stop(20 * time.Second)
		return nil
	case "kill-apiserver":
		p.apiServer.kill()
		return nil
	case "start-apiserver":
		select {
		case <-p.apiServer.ended:
			return p.startAPIServer()
		default:
			return errors.New("the API server is running")
		}
	case "pause-etcd":
		return p.etcd.command.Process.Signal(syscall.SIGSTOP)
	case "resume-etcd":
		return p.etcd.command.Process.Signal(syscall.SIGCONT)
	}
	return fmt.Errorf("no such command: %q", line)
}

// close kills all parts and removes the directory.
func (p *plane) close() {
	for _, part := range []*process{p.managers, p.apiServer, p.etcd} {
		if part != nil {
			part.kill()
		}
	}
	_ = os.RemoveAll(p.directory)
	p.lock.Close()
}

func (p *plane) describe() description {
	return description{
		URL:        p.url(),
		CAFile:     p.path("ca.crt"),
		Kubeconfig: p.path("admin.kubeconfig"),
		Token:      p.adminToken,
		Directory:  p.directory,
		AuditLog:   p.path("audit.log"),
		Binaries:   p.binaries,
		ProcessIDs: map[string]int{
			"etcd":                    p.etcd.command.Process.Pid,
			"kube-apiserver":          p.apiServer.command.Process.Pid,
			"kube-controller-manager": p.managers.command.Process.Pid,
		},
	}
}

func (p *plane) url() string               { return fmt.Sprintf("https://127.0.0.1:%d", p.port) }
func (p *plane) path(file string) string   { return filepath.Join(p.directory, file) }
func (p *plane) binary(name string) string { return filepath.Join(p.binaries, name) }
func (p *plane) write(file, text string) error {
	return os.WriteFile(p.path(file), []byte(text), 0o600)
}

func (p *plane) kubeconfig(token string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: plane, cluster: {server: %q, certificate-authority: %q}}]
users: [{name: user, user: {token: %q}}]
contexts: [{name: plane, context: {cluster: plane, user: user}}]
current-context: plane
`, p.url(), p.path("ca.crt"), token)
}

// get asks the API server as the administrator; an error unless the answer is 200.
func (p *plane) get(path string) error {
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, p.url()+path, nil)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+p.adminToken)
	return succeed(p.client.Do(request))
}

func succeed(response *http.Response, err error) error {
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 4096))
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, text)
	}
	return err
}

// freePort finds a port that nobody listens on, below those that the kernel gives to clients and to tests that ask for
// any: nobody takes it by chance while the API server is down.
func freePort() (int, error) {
	const low, high = 10_000, 32_000
	var err error
	for range 100 {
		n, random := rand.Int(rand.Reader, big.NewInt(high-low))
		if random != nil {
			return 0, random
		}
		var listener net.Listener
		port := low + int(n.Int64())
		if listener, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			return port, listener.Close()
		}
	}
	return 0, fmt.Errorf("no free port: %w", err)
}
