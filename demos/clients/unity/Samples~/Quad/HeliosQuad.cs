// HeliosQuad.cs: put it on a camera, give it a quad's renderer (or a UI material), press Play.
using System.Collections.Generic;
using HeliosBridge;
using UnityEngine;

[RequireComponent(typeof(Camera))]
public sealed class HeliosQuad : MonoBehaviour
{
    [Header("Service")]
    [SerializeField] string host = "127.0.0.1";
    [SerializeField] int port = 5599;
    [Header("Picture")]
    [SerializeField, Tooltip("What shows the frames, as its main texture")] Renderer screen = null;
    [SerializeField, Tooltip("What happens, in words; holds until changed")] string action = "";
    [Header("Level")]
    [SerializeField, Tooltip("Hands over the colliders below this; empty: the server's own map")] HeliosLevel level = null;
    [SerializeField, Tooltip("What the world looks like, in words")] string prompt = "";
    [SerializeField, Range(30, 240)] int ticksPerSecond = 60;

    HeliosClient client;
    Camera view;
    Texture2D texture;
    float nextTick;
    bool teleported;
    readonly List<HeliosEvent> events = new List<HeliosEvent>();

    public HeliosCounts Counts { get { return client == null ? default(HeliosCounts) : client.Counts; } }
    public string Action { get { return action; } set { action = value; } }

    /// <summary>Call it when the camera jumps: older frames are then not bent to the new place.</summary>
    public void Teleported() { teleported = true; }

    /// <summary>Something that happened once ("door", "open").</summary>
    public void Happened(string kind, string value) { events.Add(new HeliosEvent(kind, value)); }

    // Before a domain reload Unity calls OnDisable and afterwards OnEnable: the session closes and opens with them.
    void OnEnable()
    {
        view = GetComponent<Camera>();
        client = new HeliosClient(new HeliosOptions
        {
            Host = host, Port = port, Name = Application.productName, FlipRows = true,
            TickHz = ticksPerSecond, BudgetMicroseconds = 1000000 / ticksPerSecond,
        });
    }

    void OnDisable()
    {
        if (client != null) client.Dispose();
        client = null;
    }

    void Update()
    {
        if (client == null) return;
        HeliosNotice notice;
        while (client.TryTakeNotice(out notice)) React(notice);
        HeliosFrame frame;
        if (client.TryTake(out frame)) Show(frame);
        if (Time.unscaledTime < nextTick) return;
        nextTick = Mathf.Max(nextTick + 1f / ticksPerSecond, Time.unscaledTime);
        HeliosCamera camera = new HeliosCamera
        {
            Position = Helios.Vector(transform.position),
            Rotation = Helios.Rotation(transform.rotation),
            VerticalFovDegrees = view.fieldOfView, // Unity's is the vertical one, as the protocol's
        };
        if (client.Send(ref camera, action, teleported, events) < 0) return;
        teleported = false;
        events.Clear();
        if (level != null) level.SendMoves(client);
    }

    void React(HeliosNotice notice)
    {
        if (notice.Kind == HeliosNoticeKind.Opened)
        {
            if (level != null) client.SetScene(level.Collect(), prompt.Length > 0 ? prompt : null);
            return;
        }
        if (notice.Kind == HeliosNoticeKind.Resumed) return;
        Debug.LogWarning("helios-bridge: " + notice.Kind + ": " + notice.Text);
        if (notice.Kind == HeliosNoticeKind.Closed) enabled = false;
    }

    void Show(HeliosFrame frame)
    {
        if (texture == null || texture.width != frame.Width || texture.height != frame.Height)
        {
            texture = new Texture2D(frame.Width, frame.Height, TextureFormat.RGB24, false);
            if (screen != null) screen.material.mainTexture = texture;
        }
        texture.LoadRawTextureData(frame.Pixels);
        texture.Apply(false);
    }
}
